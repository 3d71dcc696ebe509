"""What is known of a person: giving it to him, and forgetting it."""
