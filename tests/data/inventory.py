"""A small stock keeper: items, orders, a report."""

from dataclasses import dataclass, field


@dataclass
class Item:
    """One kind of article in the store."""

    sku: str
    name: str
    quantity: int
    price_cents: int
    tags: list[str] = field(default_factory=list)


class Inventory:
    """All items of a store, by SKU."""

    def __init__(self):
        # SKU -> item; the history holds (action, SKU, quantity).
        self.items = {}
        self.history = []

    def add(self, item):
        """Put an item into the store, or more of one that is there."""
        if item.sku in self.items:
            self.items[item.sku].quantity += item.quantity
        else:
            self.items[item.sku] = item
        self.history.append(("add", item.sku, item.quantity))

    def remove(self, sku, quantity):
        """Take items out of the store and return what they are worth in cents."""
        item = self.items[sku]
        item.quantity -= quantity
        if item.quantity < 0:
            raise ValueError(f"not enough {item.name} in stock")
        self.history.append(("remove", sku, quantity))
        return quantity * item.price_cents

    def find(self, tag):
        """Return the items that carry a tag."""
        return [item for item in self.items.values() if tag in item.tags]

    def total_value(self):
        """Return what the whole stock is worth, in cents."""
        return sum(item.quantity * item.price_cents for item in self.items.values())

    def average_price(self):
        """Return the mean price of the items in cents."""
        if not self.items:
            return 0
        prices = [item.price_cents for item in self.items.values()]
        return sum(prices) / len(prices)

    def drop_empty(self):
        """Forget the items of which none are left."""
        for sku, item in self.items.items():
            if item.quantity == 0:
                del self.items[sku]
                self.history.append(("drop", sku, 0))


def restock_report(inventory, threshold, lines=[]):
    """Return a text with one line for each item that is running low."""
    for item in sorted(inventory.items.values(), key=lambda item: item.name):
        if item.quantity <= threshold:
            lines.append(f"{item.sku:<8} {item.name:<20} {item.quantity:>5}")
    return "\n".join(lines)


def apply_discount(inventory, tag, percent):
    """Lower the price of each item with a tag by so many percent; return how many changed."""
    changed = 0
    for item in inventory.find(tag):
        item.price_cents = round(item.price_cents * (100 - percent) / 100)
        changed += 1
    return changed
