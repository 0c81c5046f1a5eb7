"""What Mizan does with particular libraries. Each module needs the extra of its name, and nothing else imports it."""
