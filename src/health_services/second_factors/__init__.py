"""Second factors: authenticator apps, recovery codes, passkeys; and signing in with them."""
