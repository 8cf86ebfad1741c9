"""Permission groups: a part of Cloudflare's own catalogue, with the ids, names and scopes that it has there.

Names are no keys: some stand for one group on accounts and for another on zones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ACCOUNT = "com.cloudflare.api.account"
ZONE = "com.cloudflare.api.account.zone"
USER = "com.cloudflare.api.user"
BUCKET = "com.cloudflare.edge.r2.bucket"
WORKER = "com.cloudflare.edge.worker.script"
_SCOPES = {"account": ACCOUNT, "zone": ZONE, "user": USER, "bucket": BUCKET, "worker": WORKER}
_LONG = {"zero_trust": "cloudflare_one_and_zero_trust"}

# id, scope, category, name
_LINES = """
0cc3a61731504c89b99ec1be78b77aa0 user other API Tokens Read
686d18d5ac6c441c867cbf6771e58a0a user other API Tokens Write
3518d0f75557482e952c6762d3e64903 user other Memberships Read
9201bc6f42d440968aaab0c6f17ebb1d user other Memberships Write
8acbe5bb0d54464ab867149d7f7cf8ac user other User Details Read
55a5e17cc99e4a3fa1f3432d262f2e55 user other User Details Write
eb258a38ea634c86a0c89da6b27cb6b6 zone zero_trust Access: Apps and Policies Read
7ea222f6d5064cfa89ea366d7c1fee89 account zero_trust Access: Apps and Policies Read
959972745952452f8be2452be8cbb9f2 zone zero_trust Access: Apps and Policies Write
1e13c5124ca64b72b1969a67e8829049 account zero_trust Access: Apps and Policies Write
b05b28e839c54467a7d6cba5d3abb5a3 account zero_trust Access: Audit Logs Read
26bc23f853634eb4bff59983b9064fde account zero_trust Access: Organizations, Identity Providers, and Groups Read
bfe0d8686a584fa680f4c53b5eb0de6d account zero_trust Access: Organizations, Identity Providers, and Groups Write
91f7ce32fa614d73b7e1fc8f0e78582b account zero_trust Access: Service Tokens Read
a1c0fec57cf94af79479a6d827fa518c account zero_trust Access: Service Tokens Write
eb56a6953c034b9d97dd838155666f06 account account_and_billing Account API Tokens Read
5bc3f8b21c554832afc660159ab75fa4 account account_and_billing Account API Tokens Write
b89a480218d04ceb98b4fe57ca29dc1f account analytics_and_logs Account Analytics Read
cfa964bcdafc4ab39704e7476154e41b account dns_and_zones Account DNS Settings Read
dc44f27f48ab405392a5f69fe822bd01 account dns_and_zones Account DNS Settings Write
de7a688cc47d43bd9ea700b467a09c96 account app_security Account Firewall Access Rules Read
a416acf9ef5a4af19fb11ed3b96b1fe6 account app_security Account Firewall Access Rules Write
fb39996ee9044d2a8725921e02744b39 account rules_and_configuration Account Rulesets Read
56907406c3d548ed902070ec4df0e328 account rules_and_configuration Account Rulesets Write
c1fde68c7bcc44588cbb6ddbc16d6480 account account_and_billing Account Settings Read
1af1fa2adc104452b74a9a3364202f20 account account_and_billing Account Settings Write
56b2af4817c84ad99187911dc3986c23 account app_security Account WAF Read
cde8c82463b6414ca06e46b9633f52a6 account app_security Account WAF Write
a7a233f9604845c787d4c8c39ac09c21 account app_security Account: SSL and Certificates Read
db37e5f1cb1a4e1aabaef8deaea43575 account app_security Account: SSL and Certificates Write
9c88f9c5bce24ce7af9a958ba9c504db zone analytics_and_logs Analytics Read
7cf72faf220841aabcfdfab81c43c4f6 account account_and_billing Billing Read
6c80e02421494afc9ae14414ed442632 account account_and_billing Billing Write
07bea2220b2343fa9fae15656c0d8e88 zone app_security Bot Management Read
3b94c49258ec4573b06d51d99b6416c0 zone app_security Bot Management Write
e17beae8b8cb423a99b1730f21238bed zone cache_and_performance Cache Purge
3245da1cf36c45c3847bb9b483c62f97 zone cache_and_performance Cache Settings Read
9ff81cbbe65c400b97d92c3c1033cab6 zone cache_and_performance Cache Settings Write
efea2ab8357b47888938f101ae5e053f account zero_trust Cloudflare Tunnel Read
c07321b023e944ff818fec44d8203567 account zero_trust Cloudflare Tunnel Write
20e5ea084b2f491c86b8d8d90abff905 zone rules_and_configuration Config Settings Read
06f0526e6e464647bd61b63c54935235 zone rules_and_configuration Config Settings Write
192192df92ee43ac90f2aeeffce67e35 account developer_platform D1 Read
09b2857d1c31407795e75e3fed8617a1 account developer_platform D1 Write
5f48a472240a4b489a21d43bd19a06e1 account dns_and_zones DNS Firewall Read
da6d2d6f2ec8442eaadda60d13f42bca account dns_and_zones DNS Firewall Write
82e64a83756745bbbb1c9c2701bf816b zone dns_and_zones DNS Read
95d69e8d6d5144bfb0923667355d9f11 account dns_and_zones DNS View Read
5b7aedd821a548b9bf5a2acabbce98c7 account dns_and_zones DNS View Write
4755a26eedb94da69e1066d98aa820be zone dns_and_zones DNS Write
e199d584e69344eba202452019deafe3 zone other Disable ESC Read
29eefa0805f94fdfae2b058b5b52f319 account other Disable ESC Read
9110d9dd749e464fb9f3961a2064efc5 zone other Disable ESC Write
18555e39c5ba40d284dde87eda845a90 account other Disable ESC Write
d8e12db741544d1586ec1d6f5d3c7786 zone rules_and_configuration Dynamic URL Redirects Read
74e1036f577a48528b78d2413b40538d zone rules_and_configuration Dynamic URL Redirects Write
5272e56105d04b5897466995b9bd4643 account email_and_messaging Email Routing Addresses Read
e4589eb09e63436686cd64252a3aebeb account email_and_messaging Email Routing Addresses Write
1b600d9d8062443e986a973f097e728a zone email_and_messaging Email Routing Rules Read
79b3ec0d10ce4148a8f8bdc0cc5f97f2 zone email_and_messaging Email Routing Rules Write
4ec32dfcb35641c5bb32d5ef1ab963b4 zone app_security Firewall Services Read
43137f8d07884d3198dc0ee77ca6e79b zone app_security Firewall Services Write
fac65912d42144aa86b7dd33281bf79e zone network_services Health Checks Read
e0dc25a0fbdf4286b1ea100e3256b0e3 zone network_services Health Checks Write
4d62ccf834df44808bc9283d65c4e4e9 account developer_platform Hyperdrive Read
721b2f51fba74871bd361de65aeb7e03 account developer_platform Hyperdrive Write
0cf6473ad41449e7b7b743d14fc20c60 account media Images Read
618ec6c64a3a42f8b08bdcb147ded4e4 account media Images Write
59059f0c977b44f8b1c18e0aaf91c369 account network_services Load Balancers Account Read
419ec42810af4659ade77716dbe47bc6 account network_services Load Balancers Account Write
e9a975f628014f1d85b723993116f7d5 zone network_services Load Balancers Read
6d7f2f5f5b1d4a0e9081fdc98d432fd1 zone network_services Load Balancers Write
9d24387c6e8544e2bc4024a03991339f account network_services Load Balancing: Monitors and Pools Read
d2a1802cc9a34e30852f8b33869b2f3c account network_services Load Balancing: Monitors and Pools Write
6a315a56f18441e59ed03352369ae956 account analytics_and_logs Logs Read
c4a30cd58c5d42619c86a3c36c441e2d zone analytics_and_logs Logs Read
96163bd1b0784f62b3e44ed8c2ab1eb6 account analytics_and_logs Logs Write
3e0b5820118e47f3922f7c989e673882 zone analytics_and_logs Logs Write
429a068902904c5a9ed9fc267c67da9a account rules_and_configuration Mass URL Redirects Read
abe78e2276664f4db588c1f675a77486 account rules_and_configuration Mass URL Redirects Write
ce18edbdcebf465e9d6d1d2fc80ffd42 account other Notifications Read
c3c847c5802d4ce3ba00e3e97b3c8555 account other Notifications Write
7b32a91ece3140d4b3c2c56f23fc8e35 zone rules_and_configuration Origin Read
a4308c6855c84eb2873e01b6cc85cbb3 zone rules_and_configuration Origin Write
b415b70a4fd1412886f164451f20405c zone rules_and_configuration Page Rules Read
ed07f6c337da4195b4e72a1fb2c6bcae zone rules_and_configuration Page Rules Write
e247aedd66bd41cc9193af0213416666 account developer_platform Pages Read
8d28297797f24fb8a0c332fe0866ec89 account developer_platform Pages Write
84a7755d54c646ca87cd50682a34bf7c account developer_platform Queues Read
366f57075ffc42689627bcf8242a1b6d account developer_platform Queues Write
7b7216b327b04b8fbc8f524e1f9b7531 zone app_security SSL and Certificates Read
c03055bc037c4ea9afb9a9f104b7b721 zone app_security SSL and Certificates Write
5e33b7d77788455c9fdf18cbd38ee5a0 account developer_platform Secrets Store Read
adc8fa2bc6124928a8b3314dc63a1235 account developer_platform Secrets Store Write
de21485a24744b76a004aa153898f7fe account media Stream Read
714f9c13a5684c2885a793f5edb36f59 account media Stream Write
5d78fd7895974fd0bdbbbb079482721b account app_security Turnstile Sites Read
755c05aa014b4f9ab263aa80b8167bd8 account app_security Turnstile Sites Write
a92d2450e05d4e7bb7d0a64968f83d11 account ai_and_machine_learning Workers AI Read
bacc64e0f6c34fc0883a1223f938a104 account ai_and_machine_learning Workers AI Write
ad99c5ae555e45c4bef5bdf2678388ba account developer_platform Workers CI Read
2e095cf436e2455fa62c9a9c2e18c478 account developer_platform Workers CI Write
8b47d2786a534c08a1f94ee8f9f599ef account developer_platform Workers KV Storage Read
f7f0eda5697f475c90846e879bab8666 account developer_platform Workers KV Storage Write
6a018a9f2fc74eb6b293b0c548f38b39 bucket developer_platform Workers R2 Storage Bucket Item Read
2efd5506f9c8494dacb1fa10a3e7d5b6 bucket developer_platform Workers R2 Storage Bucket Item Write
b4992e1108244f5d8bfbd5744320c2e1 account developer_platform Workers R2 Storage Read
bf7481a1826f439697cb59a20b22293e account developer_platform Workers R2 Storage Write
2072033d694d415a936eaeb94e6405b8 zone developer_platform Workers Routes Read
28f4b596e7d643029c524985477ae49a zone developer_platform Workers Routes Write
1a71c399035b4950a1bd1466bbe4f420 account developer_platform Workers Scripts Read
e086da7e2179491d91ee5f35b3ca210a account developer_platform Workers Scripts Write
05880cd1bdc24d8bae0be2136972816b account developer_platform Workers Tail Read
3f376c8e6f764a938b848bd01c8995c4 account zero_trust Zero Trust Read
b33f02c6f7284e05a6f20741c0bb0567 account zero_trust Zero Trust Write
0a6cfe8cd3ed445e918579e2fb13087b zone dns_and_zones Zone DNS Settings Read
c4df38be41c247b3b4b7702e76eadae0 zone dns_and_zones Zone DNS Settings Write
c8fed203ed3043cba015a93ad1616f1f zone dns_and_zones Zone Read
517b21aee92c4d89936c976ba6e4be55 zone dns_and_zones Zone Settings Read
3030687196b94b638145a3953da2b699 zone dns_and_zones Zone Settings Write
dbc512b354774852af2b5a5f4ba3d470 zone app_security Zone WAF Read
fb6778dc191143babbfaa57993f1d275 zone app_security Zone WAF Write
e6d2666161e84845a636613608cee8d5 zone dns_and_zones Zone Write
"""

_WORKER_LINES = """
0a1f6e2b94c84d0e8d2c5b7a91e3f601 worker developer_platform Individual Workers Admin
0a1f6e2b94c84d0e8d2c5b7a91e3f602 worker developer_platform Individual Workers Content Read-Only
0a1f6e2b94c84d0e8d2c5b7a91e3f603 worker developer_platform Individual Workers Editor
0a1f6e2b94c84d0e8d2c5b7a91e3f604 worker developer_platform Individual Workers Metadata Read-Only
"""


@dataclass(frozen=True, slots=True)
class Group:
    """One permission group."""

    id: str
    name: str
    scope: str
    category: str


def _read(line: str) -> Group:
    tag, scope, category, name = line.split(" ", 3)
    return Group(tag, name, _SCOPES[scope], _LONG.get(category, category))


GROUPS: Mapping[str, Group] = {group.id: group for group in map(_read, _LINES.strip().splitlines())}
# The ids are made up, they were published nowhere. Apart, for the types of Cloudflare's SDK do not know their scope.
WORKERS: Mapping[str, Group] = {group.id: group for group in map(_read, _WORKER_LINES.strip().splitlines())}


def named(name: str, scope: str | None = None, groups: Mapping[str, Group] = GROUPS) -> Group:
    """The group of this name, where there is just one; ``scope`` tells two of one name apart."""
    found = [group for group in groups.values() if group.name == name and scope in (None, group.scope)]
    if len(found) != 1:
        raise KeyError(f"{len(found)} permission groups are named {name!r}" + (f" on {scope}" if scope else ""))
    return found[0]
