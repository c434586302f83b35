"""Pure mathematics on arrays and counts; one topic a file. Nothing here reads, renders or stores."""
