"""The lists of a Supplier: what each shows, by what it is filtered and ordered, and what a file of it says."""
