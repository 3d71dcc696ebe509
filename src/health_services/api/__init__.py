"""What every endpoint shares: dependencies, the transaction of a request, answers to errors."""
