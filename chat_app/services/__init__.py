"""What people can do with Rapport, one service per field; each method checks the person's rights first."""
