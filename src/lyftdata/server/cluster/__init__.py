"""Several Servers on one database: which are alive, what they tell each other, and what a change does here."""
