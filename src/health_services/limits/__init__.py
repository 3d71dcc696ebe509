"""How often somebody may do a thing: counted for all processes of a machine, or for all machines."""
