"""What an operator watches: how much waits to be sent, for how long, and what was given up."""
