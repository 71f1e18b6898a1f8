"""What readers see: tables, charts and pages, all made from the records. Nothing here runs a model."""
