"""What can be done with conversations: one class per use case, the steps and the transaction of each."""
