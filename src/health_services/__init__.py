"""The open health-services system: find a doctor, book, be seen."""
