"""Connected Workers: held polls, their deadlines, and when each Worker was last seen."""
