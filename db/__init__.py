"""What Rapport remembers: tables, sessions, migrations and named queries."""
