\set member random(:first, :last)
\set key random(1, 1000000000000000)
SELECT redemption_id FROM loyalty.redeem(member_id => :member, points => :points, program => 'burn', key => 'h' || :key::text, hold => '15 minutes') \gset
SELECT state FROM loyalty.capture(member_id => :member, redemption_id => :redemption_id, key => 'k' || :key::text);
