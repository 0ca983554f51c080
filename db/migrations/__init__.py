"""The steps from each published form of the tables to the next; published ones never change."""
