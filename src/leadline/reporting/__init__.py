"""Reports: charts, pages and the table of models."""
