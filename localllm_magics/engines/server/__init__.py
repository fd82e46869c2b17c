"""What all servers have in common: addresses, connections, failures."""
