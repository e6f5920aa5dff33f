"""One class per use case: the order of steps, the transaction, who is told. Plain values in, domain objects out."""
