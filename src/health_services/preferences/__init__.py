"""How a person wants to be told: channels, reminders, quiet hours, language."""
