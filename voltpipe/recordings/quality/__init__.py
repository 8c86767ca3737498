"""Statistics of a recording's samples, and the checks that judge them. Nothing is changed here."""
