"""Reports and notifications in Amazon's layouts: what tests of the connectors and a simulated year write."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

GERMANY, JAPAN, AMERICA, ITALY = "A1PA6795UKMFR9", "A1VC38T7YXB528", "ATVPDKIKX0DER", "APJ6JRA9NG5V4"

_FIRST = ("amazon-order-id", "merchant-order-id", "purchase-date", "last-updated-date", "order-status")
_CHANNELS = ("fulfillment-channel", "sales-channel", "order-channel")
_ITEM = ("ship-service-level", "product-name", "sku", "asin", "item-status", "quantity", "currency", "item-price",
         "item-tax", "shipping-price", "shipping-tax", "gift-wrap-price", "gift-wrap-tax", "item-promotion-discount",
         "ship-promotion-discount", "ship-city", "ship-state", "ship-postal-code", "ship-country",
         "promotion-ids")  # fmt: skip
_BUSINESS = ("is-business-order", "purchase-order-number", "price-designation")
ALL_ORDERS = {
    28: (*_FIRST, *_CHANNELS, *_ITEM),
    29: (*_FIRST, *_CHANNELS, "url", *_ITEM),
    32: (*_FIRST, *_CHANNELS, "url", *_ITEM, *_BUSINESS),
}
FBA_RETURNS = ("return-date", "order-id", "sku", "asin", "fnsku", "product-name", "quantity", "fulfillment-center-id",
               "detailed-disposition", "reason", "status", "license-plate-number", "customer-comments")  # fmt: skip
_RETURNS = ("Order ID", "Order date", "Return request date", "Return request status", "Amazon RMA ID",
            "Merchant RMA ID", "Label type", "Label cost", "Currency code", "Return carrier", "Tracking ID",
            "Label to be paid by", "A-to-Z Claim", "Is prime", "ASIN", "Merchant SKU", "Item Name", "Return quantity",
            "Return Reason", "In policy", "Return type", "Resolution", "Invoice number", "Return delivery date",
            "Order Amount", "Order quantity", "SafeT Action reason", "SafeT claim id", "SafeT claim state",
            "SafeT claim creation time", "SafeT claim reimbursement amount", "Refunded Amount")  # fmt: skip
RETURNS = {32: _RETURNS, 33: (*_RETURNS, "Category")}

BUYER = {"ship-city": "Musterstadt", "ship-postal-code": "04711", "customer-comments": "ask anna@example.com"}
_ORDER = {
    "amazon-order-id": "302-1234567-1234567",
    "purchase-date": "2025-03-01T10:00:00+00:00",
    "last-updated-date": "2025-03-02T11:30:00+00:00",
    "order-status": "Shipped",
    "fulfillment-channel": "Merchant",
    "sales-channel": "Amazon.de",
    "sku": "A-1",
    "item-status": "Shipped",
    **BUYER,
}
_RETURN = {
    "Order ID": "302-1234567-1234567",
    "Return request date": "05-Jun-2025",
    "Return request status": "Approved",
    "A-to-Z Claim": "N",
}
_FBA_RETURN = {
    "return-date": "2025-06-05T15:31:40+00:00",
    "order-id": "302-1234567-1234567",
    "sku": "A-1",
    "detailed-disposition": "SELLABLE",
    "status": "Unit returned to inventory",
    **BUYER,
}


def order(**told: str) -> dict[str, str]:
    """A row of the all-orders report; columns by name, `_` for `-`."""
    return _ORDER | {name.replace("_", "-"): value for name, value in told.items()}


def a_return(**told: str) -> dict[str, str]:
    """A row of the returns report: `order_id`, `date`, `status`, `claim`."""
    names = dict(zip(("order_id", "date", "status", "claim"), _RETURN, strict=True))
    return _RETURN | {names[name]: value for name, value in told.items()}


def fba_return(**told: str) -> dict[str, str]:
    """A row of the FBA customer returns report; columns by name, `_` for `-`."""
    return _FBA_RETURN | {name.replace("_", "-"): value for name, value in told.items()}


def table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], charset: str = "utf-8") -> bytes:
    """Rows between tabs under their header, as downloads have them."""
    lines = ["\t".join(columns), *("\t".join(row.get(name, "") for name in columns) for row in rows)]
    return "".join(f"{line}\r\n" for line in lines).encode(charset)


def notification(order_status: str = "Unshipped", **told: Any) -> dict[str, Any]:
    """An ORDER_CHANGE notification; `told` are fields of its summary, `id`, `changed` and `order_id`."""
    change_id, changed = told.pop("id", "n-1"), told.pop("changed", "2025-03-02T11:30:00.000Z")
    summary = {
        "MarketplaceId": GERMANY,
        "OrderStatus": order_status,
        "PurchaseDate": "2025-03-01T10:00:00.000Z",
        "DestinationPostalCode": "04711",
        "FulfillmentType": "MFN",
        "LatestDeliveryDate": "2025-03-09T22:59:59.000Z",
        "OrderItems": [{"OrderItemId": "1", "SellerSKU": "B-2"}, {"OrderItemId": "2", "SellerSKU": "A-1"}],
    }
    change = {
        "SellerId": "S1",
        "AmazonOrderId": told.pop("order_id", "302-1234567-1234567"),
        "OrderChangeTrigger": {"TimeOfOrderChange": changed, "ChangeReason": "any"},
        "Summary": {name: value for name, value in (summary | told).items() if value is not ...},
    }
    return {
        "NotificationType": "ORDER_CHANGE",
        "EventTime": "2025-03-02T11:31:00.000Z",
        "Payload": {"OrderChangeNotification": change},
        "NotificationMetadata": {"NotificationId": change_id, "PublishTime": "2025-03-02T11:32:00.000Z"},
    }


def as_json(value: Any, indent: int | None = None) -> bytes:
    """A value as the text of a file."""
    return json.dumps(value, indent=indent).encode()
