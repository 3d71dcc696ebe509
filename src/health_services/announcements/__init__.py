"""What has to be told of an event, written in the transaction of its cause."""
