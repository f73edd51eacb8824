"""What charts are drawn from: plain numbers in the form of ``static/charts.js``. Pure."""
