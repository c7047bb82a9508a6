"""What went over every wire of late, kept in memory and written as pcapng when somebody asks. See docs/captures.md."""
