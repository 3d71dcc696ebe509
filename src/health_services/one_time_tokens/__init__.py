"""What a mail or a half-finished sign-in carries: random, kept as a hash, used once, and only for its purpose."""
