"""Notes whose words are counted: a Grok application."""
