"""Files of rows that people bring along: Parquet and JSON lines, read once, in bounded memory."""
