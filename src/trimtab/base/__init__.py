"""What every layer stands on: errors, time, tasks, processes and the HTTP transport."""
