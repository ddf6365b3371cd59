//! What each example file promises, as a story of requests and answers.

/// File name and story.
pub(super) const CASES: [(&str, &str); 12] = [
    ("per-ip", PER_IP),
    ("tenant-tiers", TENANT_TIERS),
    ("cost-by-header", COST_BY_HEADER),
    ("llm-tokens", LLM_TOKENS),
    ("login-brute-force", LOGIN_BRUTE_FORCE),
    ("ban", BAN),
    ("catch-all", CATCH_ALL),
    ("exempt-paths", EXEMPT_PATHS),
    ("shadow", SHADOW),
    ("override", OVERRIDE),
    ("several-limits", SEVERAL_LIMITS),
    ("two-quotas", TWO_QUOTAS),
];

const PER_IP: &str = "
    0s     20x remote_address=10.0.0.1 -> ok, 0 left of per-address
    0s     remote_address=10.0.0.1     -> refused, 0 left of per-address for 1 s
    0s     remote_address=10.0.0.2     -> ok, 19 left of per-address
    # Ten a second come back, one every 100 ms.
    99ms   remote_address=10.0.0.1     -> refused, 0 left of per-address for 1 s
    100ms  remote_address=10.0.0.1     -> ok, 0 left of per-address
    1100ms 10x remote_address=10.0.0.1 -> ok, 0 left of per-address
    # A pause of any length makes no more than one burst.
    1h     20x remote_address=10.0.0.1 -> ok, 0 left of per-address
    1h     remote_address=10.0.0.1     -> refused, 0 left of per-address for 1 s
";

const TENANT_TIERS: &str = "
    0s  5x plan=free,tenant=initech          -> ok, 0 left of free
    0s  plan=free,tenant=initech             -> refused, 0 left of free for 1 s
    0s  plan=free,tenant=globex              -> ok, 4 left of free
    1s  plan=free,tenant=initech             -> ok, 0 left of free
    0s  200x plan=pro,tenant=acme            -> ok, 0 left of pro
    1s  100x plan=pro,tenant=acme            -> ok, 0 left of pro
    1s  plan=pro,tenant=acme                 -> refused, 0 left of pro for 1 s
    1s  1000x plan=enterprise,tenant=umbrella -> ok, unlimited
    1s  500x plan=enterprise,tenant=hooli    -> ok, 0 left of hooli
    1s  plan=enterprise,tenant=hooli         -> refused, 0 left of hooli for 1 s
    1s  plan=invented-tomorrow,tenant=hooli  -> ok, 4 left of free
    # A plan without a tenant ends where no limit is.
    1s  plan=pro                             -> ok, no limit
";

const COST_BY_HEADER: &str = "
    0s  api_key=k hits 70  -> ok, 30 left of units
    0s  api_key=k hits 31  -> refused, 30 left of units for 1 s
    0s  api_key=k hits 30  -> ok, 0 left of units
    0s  api_key=k          -> refused, 0 left of units for 1 s
    30s api_key=k hits 50  -> ok, 0 left of units
    # Longer waiting does not help a cost above the burst.
    1h  api_key=k hits 101 -> refused, 100 left of units for 0 s
    1h  api_key=k hits 100 -> ok, 0 left of units
";

const LLM_TOKENS: &str = "
    # A call: checked at the start, booked at the end.
    0s   tenant=t hits 0     -> ok, 60000 left of tokens
    9s   tenant=t hits 50000 -> ok, 10000 left of tokens
    69s  5x tenant=t hits 0  -> ok, 11000 left of tokens
    # Nobody knew that this one would cost so much; it is booked all the same.
    69s  tenant=t hits 71000 -> refused, 0 left of tokens for 7200 s
    # A thousand tokens a minute pay the debt of 60,000 in an hour.
    69s  tenant=t hits 0     -> refused, 0 left of tokens for 3600 s
    1h   tenant=t hits 0     -> refused, 0 left of tokens for 69 s
    3669s tenant=t hits 0    -> ok, 0 left of tokens
    9s   tenant=other hits 0 -> ok, 60000 left of tokens
";

const LOGIN_BRUTE_FORCE: &str = "
    0s   5x login=address,remote_address=6.6.6.6 & login=account,account=alice -> ok, 0 left of attempts-per-address & 5 left of attempts-per-account
    # Refused for its address, it does not use up the account.
    1m   20x login=address,remote_address=6.6.6.6 & login=account,account=alice -> refused, 0 left of attempts-per-address for 840 s & 5 left of attempts-per-account
    2m   login=address,remote_address=10.0.0.1 & login=account,account=alice -> ok, 4 left of attempts-per-address & 4 left of attempts-per-account
    # Many addresses together do.
    3m   4x login=address,remote_address=6.6.6.7 & login=account,account=alice -> ok, 1 left of attempts-per-address & 0 left of attempts-per-account
    3m   login=address,remote_address=6.6.6.8 & login=account,account=alice -> refused, 5 left of attempts-per-address & 0 left of attempts-per-account for 3420 s
    15m  5x login=address,remote_address=6.6.6.6 & login=account,account=bob -> ok, 0 left of attempts-per-address & 5 left of attempts-per-account
    1h   login=address,remote_address=6.6.6.8 & login=account,account=alice -> ok, 4 left of attempts-per-address & 4 left of attempts-per-account
";

const BAN: &str = "
    0s   remote_address=203.0.113.7      -> refused, 0 left of banned for 86400 s
    24h  remote_address=203.0.113.7      -> refused, 0 left of banned for 86400 s
    24h  remote_address=198.51.100.200   -> refused, 0 left of banned-network for 86400 s
    24h  remote_address=203.0.113.77     -> ok, 59 left of ban-until-quiet
    24h  60x remote_address=10.0.0.1     -> ok, 0 left of ban-until-quiet
    # It does not stop, so eleven minutes later it is still out.
    1445m 60x remote_address=10.0.0.1    -> refused, 0 left of ban-until-quiet for 610 s
    1451m remote_address=10.0.0.1        -> refused, 0 left of ban-until-quiet for 250 s
    # Then it is quiet.
    1462m remote_address=10.0.0.1        -> ok, 59 left of ban-until-quiet
";

const CATCH_ALL: &str = "
    0s   path=/report         -> ok, 0 left of report
    0s   path=/report         -> refused, 0 left of report for 60 s
    0s   10x path=/api/users  -> ok, 0 left of api
    0s   path=/api/users      -> refused, 0 left of api for 6 s
    0s   10x path=/api/orders -> ok, 0 left of api
    0s   2x path=/files/a.zip -> ok, 1 left of archives
    0s   path=/files/b/c.zip  -> ok, 0 left of archives
    0s   path=/files/d.zip    -> refused, 0 left of archives for 20 s
    0s   path=/files/a.txt    -> ok, 19 left of everything-else
    0s   path=/               -> ok, 18 left of everything-else
    0s   18x path=/never-seen -> ok, 0 left of everything-else
    0s   path=/report/2       -> refused, 0 left of everything-else for 3 s
";

const EXEMPT_PATHS: &str = "
    0s  100x path=/healthz,remote_address=10.0.0.1         -> ok, no limit
    0s  100x path=/static/app.css,remote_address=10.0.0.1  -> ok, no limit
    0s  100x path=/load-test,remote_address=10.0.0.5       -> ok, unlimited
    0s  5x path=/load-test,remote_address=10.0.0.1         -> ok, 0 left of load-test
    0s  path=/load-test,remote_address=10.0.0.1            -> refused, 0 left of load-test for 1 s
    0s  5x path=/healthz2,remote_address=10.0.0.1          -> ok, 0 left of per-path-and-address
    0s  path=/healthz2,remote_address=10.0.0.1             -> refused, 0 left of per-path-and-address for 1 s
    0s  path=/other,remote_address=10.0.0.1                -> ok, 4 left of per-path-and-address
";

const SHADOW: &str = "
    0s   5x user=alice -> ok, 0 left of enforced
    0s   user=alice    -> refused, 0 left of enforced for 3600 s
    0s   2x team=red   -> ok, 0 left of trial
    0s   50x team=red  -> ok, 0 left of trial
";

const OVERRIDE: &str = "
    # Without a limit of its own, the rule.
    0s   2x tenant=a              -> ok, 0 left of default
    0s   tenant=a                 -> refused, 0 left of default for 3600 s
    # The same counter: two of these three are used.
    0s   tenant=a limit 3/hour    -> ok, 0 left of 3/hour
    0s   tenant=a limit 3/hour    -> refused, 0 left of 3/hour for 3600 s
    # What was refused has not been counted.
    0s   tenant=a limit 4/hour    -> ok, 0 left of 4/hour
    # Another unit is another counter, and no rule has to know the key.
    0s   3x tenant=a limit 3/day  -> ok, 0 left of 3/day
    0s   5x anything=b limit 5/minute -> ok, 0 left of 5/minute
    0s   anything=b limit 5/minute -> refused, 0 left of 5/minute for 60 s
    # The windows are those of the clock.
    1h   tenant=a                 -> ok, 1 left of default
";

const SEVERAL_LIMITS: &str = "
    0s   2x api_key=k -> ok, 0 left of per-second
    0s   api_key=k    -> refused, 0 left of per-second for 1 s
    1s   2x api_key=k -> ok, 0 left of per-second
    2s   api_key=k    -> ok, 0 left of per-minute
    2s   api_key=k    -> refused, 0 left of per-minute for 58 s
    # Nothing that was refused has been counted.
    60s  2x api_key=k -> ok, 0 left of per-minute
    61s  api_key=k    -> ok, 0 left of per-hour
    62s  api_key=k    -> refused, 0 left of per-hour for 3538 s
    1h   2x api_key=k -> ok, 0 left of per-hour
    1h   api_key=k    -> refused, 0 left of per-hour for 1 s
";

const TWO_QUOTAS: &str = "
    0s   2x tenant=a & region=eu -> ok, 0 left of own & 1 left of lent
    # Its own is used up; the region still has one.
    0s   tenant=a & region=eu    -> ok, 0 left of own for 1800 s & 0 left of lent
    0s   tenant=a & region=eu    -> refused, 0 left of own for 1800 s & 0 left of lent for 1200 s
    # The region has nothing, but this tenant has.
    0s   2x tenant=b & region=eu -> ok, 0 left of own & 0 left of lent for 1200 s
    0s   tenant=b & region=eu    -> refused, 0 left of own for 1800 s & 0 left of lent for 1200 s
";
