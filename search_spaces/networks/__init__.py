"""The networks of the search spaces (torch). Import the modules themselves; this stays light."""
