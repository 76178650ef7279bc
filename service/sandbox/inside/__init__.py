"""What runs inside the sandbox. It is read as text and handed in; nothing here is imported by Everthread."""
