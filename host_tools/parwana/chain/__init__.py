"""One EVM chain over JSON-RPC: keys, contracts, transactions, what is final, what is deployed."""
