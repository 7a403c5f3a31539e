"""The notifier: sends one message an incident to chat, mail, PagerDuty and webhooks."""
