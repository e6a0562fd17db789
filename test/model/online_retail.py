#!/usr/bin/env python3
"""An independent computation of two programmes over UCI Online Retail, written from the documented semantics alone.

    online_retail.py online_retail.csv.xz DIRECTORY

writes into DIRECTORY, for test/t/020_online_retail.pl:
    purchases.csv       the data as it is, unpacked (with its header)
    lines.csv           program, line number, points, first dead instant: one row for each line that must have an award
    standings.csv       program, instant, customer, enrolled by then, available points, tier: every customer at every instant
    accounts.csv        program, customer, points earned in all, spend in all
and prints control totals.  Standard library only; no floating point: money and points are Decimal.

The programmes earn one point per pound of positive lines (quantity > 0 and price > 0) with a customer, double on
Sundays, with a bonus by tier, in Europe/London, rounding down to whole points, once per line.  Tiers go by spend.
"pounds" has calendar years; "quick" has quarters, three months of validity and of life, so that tiers lapse and points
die while the data is loaded.  Cancellations (negative lines) earn nothing and take nothing back.
"""
import csv
import io
import lzma
import os
import sys
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import ROUND_DOWN, Decimal
from zoneinfo import ZoneInfo

LONDON = ZoneInfo('Europe/London')
FOREVER = datetime(9999, 1, 1, tzinfo=timezone.utc)


class Program:
    def __init__(self, name, months_of_life, months_in_period, validity_months, tiers, instants):
        self.name = name
        self.months_of_life = months_of_life        # expiry 'N months, end of month'
        self.months_in_period = months_in_period    # 12: calendar year, 3: calendar quarter
        self.validity_months = validity_months      # tier_validity
        self.tiers = tiers                          # (name, threshold, earn_bonus), lowest first
        self.instants = [to_instant(datetime.fromisoformat(text)) for text in instants]


def to_instant(local):
    """A wall time in London as an instant in UTC.  No purchase was made in an hour that is missing or comes twice."""
    early, late = (local.replace(tzinfo=LONDON, fold=fold).astimezone(timezone.utc) for fold in (0, 1))
    assert early == late, f'{local} is not one instant'
    return early


def to_local(instant):
    return instant.astimezone(LONDON).replace(tzinfo=None)


def first_of_month(local, months_later):
    """The first instant (local) of the month that lies so many months after local's."""
    number = local.year * 12 + local.month - 1 + months_later
    return datetime(number // 12, number % 12 + 1, 1)


PROGRAMS = [
    Program('pounds', 12, 12, 12,
            [('bronze', Decimal(0), Decimal(0)), ('silver', Decimal(1000), Decimal('0.1')),
             ('gold', Decimal(5000), Decimal('0.25'))],
            ['2010-12-31 23:59:59', '2011-06-15 12:00', '2011-12-31 23:59:59', '2012-01-01 00:00', '2012-03-31 23:59:59',
             '2012-04-01 00:00', '2012-12-31 23:59:59', '2013-01-01 00:00']),
    Program('quick', 3, 3, 3,
            [('bronze', Decimal(0), Decimal(0)), ('silver', Decimal(300), Decimal('0.1')),
             ('gold', Decimal(1500), Decimal('0.25'))],
            ['2010-12-31 23:59:59', '2011-03-31 23:59:59', '2011-04-01 00:00', '2011-06-30 23:59:59', '2011-07-01 00:00',
             '2011-09-30 12:00', '2011-10-01 00:00', '2012-01-01 00:00', '2012-04-01 00:00', '2012-07-01 00:00']),
]


class Lot:
    def __init__(self, line, points, occurred_at, instant, expires_at):
        self.line = line
        self.points = points
        self.occurred_at = occurred_at      # earned_at, and available at once
        self.instant = instant              # when it came into the books
        self.expires_at = expires_at


class Account:
    """One customer's standing in one program, brought forward purchase by purchase in the order of arrival."""

    def __init__(self, program, instant):
        self.program = program
        self.enrolled_at = instant
        self.settled_at = instant
        self.spend = defaultdict(Decimal)           # first local instant of a period -> spend, by date of purchase
        self.tier = 0
        self.tier_until = FOREVER
        self.changes = [(instant, 0)]               # (instant from which it is true, tier)
        self.lots = []

    # -- periods

    def period_of(self, instant):
        local = to_local(instant)
        return first_of_month(local, -((local.month - 1) % self.program.months_in_period))

    def tier_for(self, spend):
        return max(rank for rank, (_, threshold, _) in enumerate(self.program.tiers) if spend >= threshold)

    def held_until(self, tier, period):
        """A tier reached in a period is held until the validity after that period's end; the lowest for ever."""
        if tier == 0:
            return FOREVER
        return to_instant(first_of_month(period, self.program.months_in_period + self.program.validity_months))

    # -- time

    def settle(self, instant):
        """Let tiers lapse that are due by then: to what the last full period gives."""
        while self.tier_until <= instant:
            at = self.tier_until
            last_full = first_of_month(self.period_of(at), -self.program.months_in_period)
            tier = min(self.tier, self.tier_for(self.spend[last_full]))
            if tier != self.tier:
                self.changes.append((at, tier))
            self.tier = tier
            self.tier_until = self.held_until(tier, last_full)
            assert self.tier_until > at
        self.settled_at = max(self.settled_at, instant)

    # -- a purchase

    def earn(self, line, amount, occurred_at):
        instant = max(occurred_at, self.settled_at)      # all purchases lie in the past of the load
        self.settle(instant)

        base = amount
        unrounded = base
        if to_local(occurred_at).isoweekday() == 7:
            unrounded += base
        unrounded += self.program.tiers[self.tier][2] * base    # the tier just before this purchase
        points = unrounded.quantize(Decimal(1), ROUND_DOWN)     # one rounding

        expires_at = to_instant(first_of_month(to_local(occurred_at), self.program.months_of_life + 1))
        self.lots.append(Lot(line, points, occurred_at, instant, expires_at))

        period = self.period_of(occurred_at)
        assert period == self.period_of(instant), 'a late purchase of an earlier period: not modelled'
        self.spend[period] += amount
        reached = self.tier_for(self.spend[period])
        if reached > self.tier:
            self.tier = reached
            self.changes.append((instant, reached))
            self.tier_until = self.held_until(reached, period)
        elif reached == self.tier and reached > 0:
            # Reached again in a later period: held longer.  (At the end of the first holding the last full period would
            # give the same, so that it does not matter when this is written down.)
            self.tier_until = max(self.tier_until, self.held_until(reached, period))

    # -- reading

    def available(self, instant):
        return sum((lot.points for lot in self.lots if lot.instant <= instant < lot.expires_at), Decimal(0))

    def tier_at(self, instant):
        name = None
        for at, tier in self.changes:
            if at <= instant:
                name = self.program.tiers[tier][0]
        return name


def read(path):
    """(line number from 1, quantity, price, time in UTC, customer or None), in the order of the file; and the text."""
    with lzma.open(path, 'rt', encoding='utf-8', newline='') as file:
        text = file.read()
    instants = {}
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline='')), 1):
        when = row['InvoiceDate']
        if when not in instants:
            instants[when] = to_instant(datetime.fromisoformat(when))
        customer = int(Decimal(row['CustomerID'])) if row['CustomerID'] else None
        rows.append((number, int(row['Quantity']), Decimal(row['UnitPrice']), instants[when], customer, row['InvoiceNo']))
    return rows, text


def check(rows):
    """Control totals that are published with the data."""
    cancelled = [row for row in rows if row[5].startswith('C')]
    totals = {
        'lines': len(rows),
        'customers': len({row[4] for row in rows if row[4] is not None}),
        'without a customer': sum(row[4] is None for row in rows),
        'net': sum(row[1] * row[2] for row in rows).quantize(Decimal('0.01')),
        'cancellations': len(cancelled),
        'cancelled': sum(row[1] * row[2] for row in cancelled).quantize(Decimal('0.01')),
    }
    expected = {'lines': 541909, 'customers': 4372, 'without a customer': 135080, 'net': Decimal('9747747.93'),
                'cancellations': 9288, 'cancelled': Decimal('-896812.49')}
    assert totals == expected, totals
    return totals


def run(program, rows):
    accounts = {}
    for number, quantity, price, occurred_at, customer, _ in rows:
        if customer is None or not (quantity > 0 and price > 0):
            continue
        if customer not in accounts:
            accounts[customer] = Account(program, occurred_at)
        accounts[customer].earn(number, quantity * price, occurred_at)
    for account in accounts.values():
        account.settle(max(program.instants) + timedelta(microseconds=1))
    return accounts


def main():
    path, directory = sys.argv[1:]
    rows, text = read(path)
    print('data:', ', '.join(f'{what} {figure}' for what, figure in check(rows).items()))
    with open(os.path.join(directory, 'purchases.csv'), 'w', encoding='utf-8', newline='') as file:
        file.write(text)

    names = {'lines': [], 'standings': [], 'accounts': []}
    for program in PROGRAMS:
        accounts = run(program, rows)
        late = 0
        for customer, account in sorted(accounts.items()):
            for lot in account.lots:
                names['lines'].append((program.name, lot.line, lot.points, lot.expires_at.isoformat()))
                if lot.instant != lot.occurred_at:
                    late += 1
                    assert not any(lot.occurred_at <= instant < lot.instant for instant in program.instants)
            names['accounts'].append((program.name, customer, sum(lot.points for lot in account.lots), sum(account.spend.values())))
            for instant in program.instants:
                names['standings'].append((program.name, instant.isoformat(), customer, account.enrolled_at <= instant,
                                           account.available(instant), account.tier_at(instant)))
        lots = sum(len(account.lots) for account in accounts.values())
        print(f'{program.name}: {len(accounts)} accounts, {lots} awards ({late} came late), '
              f'{sum(lot.points for account in accounts.values() for lot in account.lots)} points, '
              f'{sum(len(account.changes) - 1 for account in accounts.values())} changes of tier')
        for instant in program.instants:
            tiers = defaultdict(int)
            for account in accounts.values():
                tiers[account.tier_at(instant)] += 1
            print(f'  {to_local(instant)}  available {sum(account.available(instant) for account in accounts.values()):>9}  '
                  + ', '.join(f'{tier or "not yet"} {tiers[tier]}' for tier in sorted(tiers, key=str)))
    for name, table in names.items():
        with open(os.path.join(directory, name + '.csv'), 'w', encoding='utf-8', newline='') as file:
            csv.writer(file).writerows(table)


if __name__ == '__main__':
    main()
