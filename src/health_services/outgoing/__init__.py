"""What leaves the house: mail, SMS, Web Push and HTTP to elsewhere; each real one has a Null that ships."""
