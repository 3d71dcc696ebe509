"""What is kept in memory of the public directory, and how every process of the machine learns that it has changed."""
