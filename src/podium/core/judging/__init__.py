"""What a model as judge is asked, and how its reply is read. Pure; knows no server and no model."""
