"""Files of others: how they are read, which form their values have, what replaces none of them."""
