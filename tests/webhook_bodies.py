"""Mailchimp webhook bodies: one of each type as captured on the wire (addresses and networks replaced by documentation's),
and a builder for others. Fields and their order are Mailchimp's.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

AUDIENCE: Final = "f1243a3b12"

# Snowplow's MailchimpAdapterSpec holds this request; `action` is there, `campaign_id` is not.
UNSUBSCRIBE: Final = (
    b"type=unsubscribe&fired_at=2014-10-22+13%3A10%3A40&data%5Baction%5D=unsub&data%5Breason%5D=manual&data%5Bid%5D=94826aa750"
    b"&data%5Bemail%5D=josh%2Bnews%40example.com&data%5Bemail_type%5D=html&data%5Bip_opt%5D=192.0.2.169&data%5Bweb_id%5D=203740265"
    b"&data%5Bmerges%5D%5BEMAIL%5D=josh%2Bnews%40example.com&data%5Bmerges%5D%5BFNAME%5D=Josh&data%5Bmerges%5D%5BLNAME%5D=Smith"
    b"&data%5Bmerges%5D%5BINTERESTS%5D=&data%5Blist_id%5D=f1243a3b12"
)
SUBSCRIBE: Final = (
    b"type=subscribe&fired_at=2020-09-07+21%3A31%3A09&data%5Bid%5D=b748506b63&data%5Bemail%5D=Ada.Lovelace%40Example.com"
    b"&data%5Bemail_type%5D=html&data%5Bip_opt%5D=192.0.2.135&data%5Bip_signup%5D=198.51.100.30&data%5Bweb_id%5D=404947702"
    b"&data%5Bmerges%5D%5BEMAIL%5D=Ada.Lovelace%40Example.com&data%5Bmerges%5D%5BFNAME%5D=Ada&data%5Bmerges%5D%5BLNAME%5D="
    b"&data%5Bmerges%5D%5BADDRESS%5D%5Baddr1%5D=12+St+James%27s+Square&data%5Bmerges%5D%5BADDRESS%5D%5Baddr2%5D="
    b"&data%5Bmerges%5D%5BADDRESS%5D%5Bcity%5D=London&data%5Bmerges%5D%5BADDRESS%5D%5Bstate%5D=&data%5Bmerges%5D%5BADDRESS%5D%5Bzip%5D=SW1Y"
    b"&data%5Bmerges%5D%5BADDRESS%5D%5Bcountry%5D=GB&data%5Bmerges%5D%5BPHONE%5D=&data%5Bmerges%5D%5BBIRTHDAY%5D=12%2F10"
    b"&data%5Bmerges%5D%5BINTERESTS%5D=Group1%2CGroup2&data%5Bmerges%5D%5BGROUPINGS%5D%5B0%5D%5Bid%5D=6197"
    b"&data%5Bmerges%5D%5BGROUPINGS%5D%5B0%5D%5Bunique_id%5D=458a556058&data%5Bmerges%5D%5BGROUPINGS%5D%5B0%5D%5Bname%5D=Interests"
    b"&data%5Bmerges%5D%5BGROUPINGS%5D%5B0%5D%5Bgroups%5D=Group1%2C+Group2&data%5Blist_id%5D=f1243a3b12"
)
PROFILE: Final = (
    b"type=profile&fired_at=2020-09-07+21%3A32%3A00&data%5Bid%5D=b748506b63&data%5Bemail%5D=ada%40example.com&data%5Bemail_type%5D=html"
    b"&data%5Bip_opt%5D=192.0.2.135&data%5Bweb_id%5D=404947702&data%5Bmerges%5D%5BEMAIL%5D=ada%40example.com"
    b"&data%5Bmerges%5D%5BFNAME%5D=Ada&data%5Bmerges%5D%5BLNAME%5D=King&data%5Blist_id%5D=f1243a3b12"
)
UPEMAIL: Final = (
    b"type=upemail&fired_at=2020-09-07+21%3A33%3A00&data%5Blist_id%5D=f1243a3b12&data%5Bnew_id%5D=51da8c3259"
    b"&data%5Bnew_email%5D=ada%40example.org&data%5Bold_email%5D=ada%40example.com"
)
CLEANED: Final = (
    b"type=cleaned&fired_at=2020-09-07+21%3A34%3A00&data%5Blist_id%5D=f1243a3b12&data%5Bcampaign_id%5D=4fjk2ma9xd"
    b"&data%5Breason%5D=hard&data%5Bemail%5D=ada%40example.com"
)
CAMPAIGN: Final = (
    b"type=campaign&fired_at=2020-09-07+21%3A35%3A00&data%5Bid%5D=5aa2102003&data%5Bsubject%5D=Test+Campaign+Subject"
    b"&data%5Bstatus%5D=sent&data%5Breason%5D=&data%5Blist_id%5D=f1243a3b12"
)


def webhook(
    contact: int = 0, *, kind: str = "subscribe", fired_at: str = "2026-10-22 13:10:40", **fields: str | None
) -> bytes:
    """A good webhook of contact `contact`; a keyword `data_x` or `merges_x` sets that field, None leaves one out."""
    found: dict[str, str | None] = {
        "type": kind,
        "fired_at": fired_at,
        "data[id]": f"{contact:010x}",
        "data[email]": f"contact{contact}@example.com",
        "data[email_type]": "html",
        "data[web_id]": str(contact),
        "data[list_id]": AUDIENCE,
    }
    for name, value in fields.items():
        if name.startswith("data_"):
            found[f"data[{name.removeprefix('data_')}]"] = value
        elif name.startswith("merges_"):
            found[f"data[merges][{name.removeprefix('merges_')}]"] = value
        else:
            found[name] = value
    return urlencode({name: value for name, value in found.items() if value is not None}).encode()
