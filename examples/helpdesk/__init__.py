"""A helpdesk: organisations, their tickets, and files; two web processes, a worker, a cron job and a webhook."""
