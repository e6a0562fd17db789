#!/usr/bin/env python3
"""An independent computation of UCI Online Retail with its cancellations, under each policy of taking points back.

    online_retail_returns.py online_retail.csv.xz DIRECTORY POLICY...

writes into DIRECTORY, for test/t/025_online_retail_returns.pl:
    purchases.csv       the data as it is, unpacked (with its header)
    split.txt           how many lines are loaded before points are burnt
    burns.csv           program, customer, points burnt between the two parts of the load
    kept.csv            program, line, what is kept of it, points kept, points owed by it: each line that was sold
    standings.csv       program, instant, customer, available, debt, tier
and prints totals.  The programs are named after their policies: one point per pound, double on Sundays, a bonus by tier,
whole points rounded down, 12 months to the end of the month, in Europe/London, tiers by spend of the calendar quarter;
under pending_only points wait for two weeks, or nothing could be taken back.

A line with a negative quantity is a return without a reference: it takes its amount from what is kept of the customer's
newest lines (earned last; of equals the one that came last), and what finds none is dropped.  It enrolls nobody.
The program itself is points_model.py; here stands only what returns do to it.
"""
import csv
import os
import sys
from datetime import datetime, timezone

from online_retail import check, read, to_instant
from points_model import POINT, UNIT, Account, Expiry, Interval, Period, Program, Rule, Zone

MILLS = 1000                            # of a pound: prices have three decimals
BURN_AT = '2011-06-15 12:00'
INSTANTS = ['2011-12-31 23:59:59', '2012-01-01 00:00', '2012-03-31 23:59:59', '2012-04-01 00:00', '2012-09-01 00:00',
            '2012-12-31 23:59:59', '2013-01-01 00:00']


def micros(instant):
    return (instant - datetime(1970, 1, 1, tzinfo=timezone.utc)) // (datetime(1970, 1, 1, 0, 0, 0, 1) - datetime(1970, 1, 1))


def program(policy):
    return Program(
        name=policy, zone=QuickZone('Europe/London'), decimals=0, rounding='down', enrollment='automatic',
        expiry=QuickExpiry('12 months, end of month', months=12, end_of='month'), expiry_from='earned',
        pending=Interval('14 days', days=14) if policy == 'pending_only' else Interval('0'),
        clawback=policy, on_return='fall', tier_metric='spend', tier_period=QuickPeriod('calendar quarter'),
        tier_validity=Interval('3 months', months=3), downgrade='requalify', grace=Interval('0'),
        tiers=[('bronze', 0, 0), ('silver', 300 * MILLS, 1000), ('gold', 1500 * MILLS, 2500)],
        rules=[Rule('one per pound', False, None, lambda mills, base: (mills * UNIT, MILLS)),
               Rule('double on Sundays', True, None, lambda mills, base: (base, 1), kinds=('sunday',))])


class QuickZone(Zone):
    """Lines of one invoice ask the same."""

    def __init__(self, name):
        super().__init__(name)
        self.locals = {}

    def local(self, instant):
        if instant not in self.locals:
            self.locals[instant] = super().local(instant)
        return self.locals[instant]


class QuickExpiry(Expiry):
    known = {}

    def first_dead(self, instant, zone):
        if instant not in self.known:
            self.known[instant] = super().first_dead(instant, zone)
        return self.known[instant]


class QuickPeriod(Period):
    def bounds(self, instant, zone, enrolled_at):
        if instant not in self.cache:
            self.cache[instant] = super().bounds(instant, zone, enrolled_at)
        return self.cache[instant]


class Customer:
    def __init__(self, program, member, at):
        self.account = Account(program, member, at)
        self.awards = []                # (line, award) in the order of arrival

    def sell(self, line, mills, at, zone):
        kind = 'sunday' if zone.local(at).isoweekday() == 7 else ''
        self.awards.append((line, self.account.earn(line, mills, kind, at, at, [])))

    def bring_back(self, mills, at):
        """Returns what found nothing."""
        kept = [(award.counted_at, number) for number, (_, award) in enumerate(self.awards) if award.kept]
        for _, number in sorted(kept, reverse=True):
            if mills == 0:
                break
            award = self.awards[number][1]
            part = min(mills, award.kept)
            mills -= part
            self.account.keep(award, award.kept - part, at)
        return mills


def run(policy, rows, split, files):
    its = program(policy)
    zone = its.zone
    customers = {}
    returns = dropped = 0
    for number, quantity, price, occurred_at, member, _ in rows:
        if number == split + 1:
            burn(policy, customers, files)
        mills = int(quantity * price * MILLS)
        assert mills == quantity * price * MILLS
        if member is None or price <= 0 or quantity == 0:
            continue
        at = micros(occurred_at)
        if quantity > 0:
            if member not in customers:
                customers[member] = Customer(its, member, at)
            customers[member].sell(number, mills, at, zone)
            continue
        returns += 1
        rest = customers[member].bring_back(-mills, at) if member in customers else -mills
        dropped += rest > 0
    for member, customer in sorted(customers.items()):
        for line, award in customer.awards:
            files['kept'].append((policy, line, f'{award.kept / MILLS:.3f}', sum(award.kept_points(award.kept)) // POINT,
                                  sum(lot.owed for lot in award.lots) // POINT))
    owed = sum(lot.owed for customer in customers.values() for lot in customer.account.lots) // POINT
    print(f'{policy}: {len(customers)} accounts, {returns} returns, {dropped} of them found too little, {owed} points owed by lots, '
          f'{sum(debt.amount for customer in customers.values() for debt in customer.account.debts) // POINT} became debts')
    for text in INSTANTS:
        at = to_instant(datetime.fromisoformat(text))
        total = 0
        for member, customer in sorted(customers.items()):
            account = customer.account
            account.settle(micros(at))
            available = 0 if account.debt() else account.available()
            total += available
            files['standings'].append((policy, at.isoformat(), member, available // POINT, account.debt() // POINT,
                                       its.tiers[account.tier][0]))
        print(f'  {text}  available {total // POINT}')


def burn(policy, customers, files):
    """Four fifths of what everybody has."""
    at = micros(to_instant(datetime.fromisoformat(BURN_AT)))
    for member, customer in sorted(customers.items()):
        account = customer.account
        account.settle(at)
        points = account.available() * 4 // 5 // POINT * POINT
        if points > 0 and not account.debt():
            account.burn(points, 'redeem')
            files['burns'].append((policy, member, points // POINT))


def main():
    path, directory, *policies = sys.argv[1:]
    rows, text = read(path)
    print('data:', ', '.join(f'{what} {figure}' for what, figure in check(rows).items()))
    burn_at = to_instant(datetime.fromisoformat(BURN_AT))
    split = max(row[0] for row in rows if row[3] < burn_at)
    assert all(row[3] < burn_at for row in rows[:split]), 'a later line stands before an earlier one'
    files = {'kept': [], 'standings': [], 'burns': [], 'split': [(split,)]}
    for policy in policies:
        run(policy, rows, split, files)
    for name, table in files.items():
        with open(os.path.join(directory, name + ('.txt' if name == 'split' else '.csv')), 'w', encoding='utf-8', newline='') as file:
            csv.writer(file).writerows(table)
    with open(os.path.join(directory, 'purchases.csv'), 'w', encoding='utf-8', newline='') as file:
        file.write(text)


if __name__ == '__main__':
    main()
