"""The public door: renders Envoy's configuration from the contracts and one short route table, and becomes Envoy.

It is not a proxy written here, and it decides nothing about who may do what: services check token and membership themselves.
"""
