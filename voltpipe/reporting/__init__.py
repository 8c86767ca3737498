"""Pages, texts, tables and figures that people read. No score is computed here."""
