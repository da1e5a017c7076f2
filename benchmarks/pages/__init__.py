"""How fast a page far back in a large history is answered, beside the first of a small one."""
