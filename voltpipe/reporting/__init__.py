"""Everything a person reads: pages, words, tables, figures, templates. No score is computed here."""
