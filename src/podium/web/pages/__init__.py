"""One module per page, each with one ``PAGE``. docs/design/010-dashboard.md says how to add one."""
