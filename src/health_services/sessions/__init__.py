"""Who is signed in where, for how long, and ending it."""
