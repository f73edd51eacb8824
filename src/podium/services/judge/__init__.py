"""A model as judge: who judges, what it is asked, and its verdict. Owns no queue and stores nothing."""
