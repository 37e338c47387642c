"""What happens to events: event -> decode -> story -> contributions -> calendar -> snapshot -> sink."""
