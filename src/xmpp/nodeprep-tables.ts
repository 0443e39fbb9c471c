// The tables of Nodeprep (RFC 6122 appendix A) over Unicode 3.2. Generated, not written:
//   python3 test/support/nodeprep-tables.py > src/xmpp/nodeprep-tables.ts
// All numbers are in base 36. A set of code points is the list of the places where membership changes, each as
// the distance from the one before. test/xmpp.test.ts compares the outcome for every code point.

/** RFC 3454 A.1: not assigned in Unicode 3.2. */
export const unassigned =
  'f5 1 i s 2m 2 1r h 28 g g 4 2 4 1 3 1 5 7 1 1 1 k 1 18 1 13 9 3r 1 1z 1 12 2 2 6 g x 12 2 7 1 13 1 2 ' +
  '6 h 1 n 1 a b r 5 5 n 1 e 1 3 1 1 q 5 m a 3y 2 f 1 e 1 u 3 r 1h 1e 9b 3 1 1h 2 i 2 5 3 p g 3 1 8 2 2 ' +
  '2 m 1 7 1 1 3 4 2 1 1 7 2 2 2 3 9 1 4 2 1 5 2 l 7 1 2 6 4 2 2 m 1 7 1 2 1 2 1 2 2 1 1 5 4 2 2 3 b 4 ' +
  '1 1 7 f c 3 1 7 1 1 1 3 1 m 1 7 1 2 1 5 2 a 1 3 1 3 2 1 f 1 5 a h 3 1 8 2 2 2 m 1 7 1 2 2 4 2 8 3 2 ' +
  '2 3 8 2 4 2 1 3 4 b h 2 1 6 3 3 1 4 3 2 1 1 1 2 3 2 3 3 3 8 1 3 4 5 3 3 1 4 9 1 f c e 3 1 8 1 3 1 n ' +
  '1 a 1 5 4 7 1 3 1 4 7 2 9 2 4 a i 2 1 8 1 3 1 n 1 a 1 5 4 7 1 3 1 4 7 2 7 1 1 2 4 a i 2 1 8 1 3 1 n ' +
  '1 g 4 6 2 3 1 4 9 1 8 2 4 a i 2 1 i 3 o 1 9 1 1 2 7 3 1 4 6 1 1 1 8 i 3 c 1m 4 t 11 2 1 1 2 2 1 1 2 ' +
  '1 6 4 1 7 1 3 1 1 1 1 2 2 1 d 1 3 2 5 1 1 1 6 2 a 2 2 y 20 1 y 6 r 4 8 1 10 1 f 2 1 1c y 1 5 1 2 1 7 ' +
  '3 4 6 q 1y 12 a 15 2 1 4 2i 5 1w 5 2a 6 7 1 1r 1 1 1 4 2 7 1 1 1 4 2 13 1 1 1 4 2 v 1 1 1 4 2 7 1 1 ' +
  '1 4 2 7 1 7 1 n 1 v 1 1 1 4 2 7 1 13 1 j 6 s z 2d c hi 9 t 3 29 f d 1 7 b n 9 k c d 1 3 1 2 c 2l 3 a ' +
  'm f 1 a 6 2g 8 16 11y 4c 4 2i 6 m 2 6 2 12 2 6 2 8 1 1 1 1 1 1 1 v 2 1h 1 f 1 e 2 6 1 j 2 3 1 9 1 2b ' +
  '4 1 7 5 6 8 2 r h i u r l 1n 2 f 7 1d c fz 1d 13 p b l 4f 1 7o 2 2 1 2t 2 a 3b 4 1 4 2 s 1 z 1 1 1 4 ' +
  '3 1 1 7 2 1g 3 o 1 e h s 4 ls ow q 1 2h c 5y q c 4 1s 1 2e 2 2v 5 14 4 2m 1 14 1k 19 3 10 d 17 3 25 ' +
  '4 1b 1 3b 4 2r 2 v 1 52u 22 g4m 2i wd 3 1j 1fd 8mc 2k 6r2 2 1n 45 7 c 5 5 q 1 5 1 1 1 2 1 2 1 30 x ' +
  'a5 g 1s 2 1i 8 19 3 g g 4 c n 2 a 1 j 1 4 4 5 1 3r 2 1 1 5a 3 6 2 6 2 6 2 3 3 7 1 7 a 7 lc v 1 4 c r ' +
  '51 12 2 12 148i 6u a 13 3 50 f6 2d 1 1z 1 2 2 1 2 2 2 4 1 c 1 1 1 4 1 2 1 1t 1 4 2 8 1 7 1 s 1 4 1 5 ' +
  '1 1 3 7 1 9e 4 82 4 1e 7we wyh g15 f2 15s 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 ' +
  '1eke 2 1eke 2 1eke 2 1 1 u 2o 1egu';

/** RFC 3454 B.1: mapped to nothing. */
export const ignored = '4t 1 ip 1 43a 1 4 3 1kt 3 2a 1 17rz g 6n 1';

/** RFC 3454 C.1.1 to C.9 and the eight of Nodeprep: allowed nowhere. */
export const prohibited =
  '0 x 1 1 3 2 7 1 a 1 1 1 1 1 1 1 1q y in 2 pn 1 1d 1 31s 1 b1 1 1kh g o 8 1b 5 6 6 328 c 4 1 x6n 6io ' +
  'y8 w 7j 1 6x 7 15df 8 96r 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 1eke 2 ' +
  '1eke 2 1eke 2 1 1 u 2o 1egu';

/** RFC 3454 D.1: written from right to left. */
export const rightToLeft =
  '14u 1 1 1 2 1 c r 5 5 12 1 3 1 1 q 5 b y 3 1 2t 7 1 7 2 j 5 1 e 2 1 1 r 2b 12 b 1 4t9 1 179p 1 1 a 1 ' +
  'd 1 5 1 1 1 2 1 2 1 30 x a3 i 1s 2 1i 14 d 37 5 1 3r';

/** RFC 3454 D.2: written from left to right. */
export const leftToRight =
  '1t q 6 q 1b 1 a 1 4 1 5 n 1 v 1 89 1 i s 2m 2 9 2 7 e 2 e 5 9 1 3v 1 b 1 1 3 1 1 1 k 1 18 1 12 a 3n ' +
  '7 1x 1 12 2 2 6 g x 12 2 7 1 13 1 1 op 1 1 1h 3 4 8 4 3 1 7 a 2 d h 2 1 8 2 2 2 m 1 7 1 1 3 4 4 3 6 ' +
  '2 2 2 a 1 4 2 1 3 4 c 2 7 a 6 4 2 2 m 1 7 1 2 1 2 1 2 4 3 o 4 1 1 7 a 2 3 e 1 1 7 1 1 1 3 1 m 1 7 1 ' +
  '2 1 5 3 4 8 1 1 2 3 1 f 1 5 a i 2 1 8 2 2 2 m 1 7 1 2 2 4 3 2 1 1 6 2 2 2 a 1 4 2 1 3 4 b i 1 1 6 3 ' +
  '3 1 4 3 2 1 1 1 2 3 2 3 3 3 8 1 3 4 2 1 2 3 3 1 3 a 1 f c e 3 1 8 1 3 1 n 1 a 1 5 7 4 r 2 4 a i 2 1 ' +
  '8 1 3 1 n 1 a 1 5 4 1 1 5 2 2 1 2 9 2 7 1 1 2 4 a i 2 1 8 1 3 1 n 1 g 4 3 5 3 1 3 a 1 8 2 4 a i 2 1 ' +
  'i 3 o 1 9 1 1 2 7 8 3 6 8 i 3 c 1c 1 2 c 7 8 d 11 2 1 1 2 2 1 1 2 1 6 4 1 7 1 3 1 1 1 1 2 2 1 4 1 2 ' +
  '9 1 2 5 1 1 9 a 2 2 y o 2 r 1 1 1 1 5 a 1 y k 1 5 1 2 4 1e 8 1 6 2 1 1c y 1 5 1 2 1 1 4 1 6 1 7 o 20 ' +
  '12 a 15 2 1 4 2i 5 1w 5 2a 6 7 1 1r 1 1 1 4 2 7 1 1 1 4 2 13 1 1 1 4 2 v 1 1 1 4 2 7 1 1 1 4 2 7 1 7 ' +
  '1 n 1 v 1 1 1 4 2 7 1 13 1 j 6 s z 2d c hi a q 5 29 f d 1 4 e i 3 2 9 i e d 1 3 f 1j 7 8 1 2 b 7 1 1 ' +
  '3 a 12 a 6 2g 8 15 11z 4c 4 2i 6 m 2 6 2 12 2 6 2 8 1 1 1 1 1 1 1 v 2 1h 1 7 1 1 3 3 1 7 3 4 2 6 4 d ' +
  '5 3 1 7 h 1 2q 1 d 1 3m 1 4 1 2 a 1 1 3 5 6 1 1 1 1 1 1 4 1 3 1 7 3 3 5 5 m 10 c2 1x q 1 7a 26 26z 3 ' +
  'p 9 7 5 2 5 4 2e 6 3 1 2i 1 4 5 14 4 2m 1 14 1k 19 3 10 s s 3 1e f c 4 1b 1 3b 4 2r 2 v 1 52u 22 g4m ' +
  '2i wd 1gz 8mc 2k 6r2 2 1n 45 7 c 5 sp q 6 q b 2h 3 6 2 6 2 6 2 3 mb v 1 4 c r 51 12 2 12 148i 6u a ' +
  '13 3 1p 3 9 g 2 7 u 4 1c f6 2d 1 1z 1 2 2 1 2 2 2 4 1 c 1 1 1 4 1 2 1 1t 1 4 2 8 1 7 1 s 1 4 1 5 1 1 ' +
  '3 7 1 9e 4 82 7xy wyf g15 f2 gvz6 1eke 2 1eke';

/** RFC 3454 B.2, one to one: runs of distance from the last run's start, count, step, shift. */
export const folded =
  '1t q 1 w 38 1 2 lj b n 1 w o 7 1 w 14 o 2 1 1e 3 2 1 7 8 2 1 h n 2 1 1a 1 2 -3d 1 3 2 1 6 1 2 -7g 2 ' +
  '1 2 5u 1 2 2 1 4 1 2 5q 1 1 2 1 2 2 1 5p 2 1 2 1 3 1 2 27 1 1 2 5m 1 1 2 5n 1 1 2 1 2 1 2 5p 1 1 2 ' +
  '5r 2 1 2 5v 1 1 2 5t 1 1 2 1 4 1 2 5v 1 1 2 5x 2 1 2 5y 1 3 2 1 6 1 2 62 1 1 2 1 2 1 2 62 3 1 2 1 2 ' +
  '1 2 62 1 1 2 1 2 2 1 61 2 2 2 1 4 1 2 63 1 1 2 1 4 1 2 1 8 1 2 2 1 1 2 1 2 1 2 2 1 1 2 1 2 1 2 2 1 9 ' +
  '2 1 j 9 2 1 j 1 2 2 1 2 2 1 4 1 2 -2p 1 1 2 -1k 1 k 2 1 14 1 2 -3m 2 9 2 1 83 1 2 38 1t 1 2 12 2 3 1 ' +
  '11 4 1 2 1s 2 2 1 1r 3 h 1 w i 9 1 w v 1 2 1 e 1 2 -u 1 1 2 -p 1 1 2 -d 1 1 2 -6 1 1 2 -9 1 1 2 -f 1 ' +
  '1 2 -m 2 c 2 1 o 1 2 -1i 1 1 2 -1c 1 1 2 -1b 2 1 2 -1o 1 1 2 -1s b g 1 28 g w 1 w 28 h 2 1 16 r 2 1 ' +
  '1j 7 2 1 f j 2 1 14 1 2 1 8 8 2 1 1d 12 1 1c 4wf 23 2 1 4b 1 2 -1m 5 19 2 1 2w 8 1 -8 g 6 1 -8 g 8 1 ' +
  '-8 g 8 1 -8 g 6 1 -8 h 4 2 -8 f 8 1 -8 28 2 1 -8 2 2 1 -22 4 1 2 -5j9 a 4 1 -2e g 2 1 -8 2 2 1 -2s e ' +
  '2 1 -8 2 2 1 -34 2 1 2 -7 c 2 1 -3k 2 2 1 -3i 7c 1 2 -6fz 5 1 2 -624 4 1 2 -6g3 1 1 2 -6g4 1 1 2 ' +
  '-6g5 3 1 2 -6g7 1 1 2 -6g8 1 1 2 -6g6 3 1 2 -6g7 4 3 1 -6g9 3 1 2 -6ga 1 1 2 -6gb 7 1 2 -6ga 2 1 2 ' +
  '-5st 2 1 2 -6ge 2 1 2 -6gv 1 1 2 -6di 1 2 1 -6h6 4 2 1 -6h7 3 1 2 -6h2 b 1 2 -5u3 1 1 2 -5tr 6 1 2 ' +
  '-6ht r g 1 g nq q 1 q 1757 q 1 w yn 12 1 14 1534 q 1 -2kdb 1g q 1 -2ker 1g q 1 -2kg7 1g 2 2 -2khn 3 ' +
  '1 2 -2khn 3 1 2 -2khn 3 2 1 -2khn 4 4 1 -2khn 5 8 1 -2khn y q 1 -2kj3 1g 2 1 -2kkj 3 4 1 -2kkj 6 8 1 ' +
  '-2kkj 9 7 1 -2kkj y 2 1 -2klz 3 4 1 -2klz 5 5 1 -2klz 6 1 2 -2klz 4 7 1 -2klz y q 1 -2knf 1g q 1 ' +
  '-2kov 1g q 1 -2kqb 1g q 1 -2krr 1g q 1 -2kt7 1g q 1 -2kun 1k h 1 -2k8n h 1 2 -2k8x 1 7 1 -2k8n p 1 2 ' +
  '-2k9c f h 1 -2ka9 h 1 2 -2kaj 1 7 1 -2ka9 p 1 2 -2kay f h 1 -2kbv h 1 2 -2kc5 1 7 1 -2kbv p 1 2 ' +
  '-2kck f h 1 -2kdh h 1 2 -2kdr 1 7 1 -2kdh p 1 2 -2ke6 f h 1 -2kf3 h 1 2 -2kfd 1 7 1 -2kf3 p 1 2 ' +
  '-2kfs';

/** RFC 3454 B.2, one to several: the letter and what it becomes. */
export const foldedToSeveral =
  '67.37.37 8g.2x.lj 95.jg.32 ds.2y.lo oq.w.qh pc.qh.lk.ld q8.qt.lk.ld 13b.12d.136 61i.2w.mp 61j.38.lk ' +
  '61k.3b.lm 61l.3d.lm 61m.2p.ji 66o.qt.lv 66q.qt.lv.lc 66s.qt.lv.ld 66u.qt.lv.n6 680.64g.qh 681.64h.qh ' +
  '682.64i.qh 683.64j.qh 684.64k.qh 685.64l.qh 686.64m.qh 687.64n.qh 688.64g.qh 689.64h.qh 68a.64i.qh ' +
  '68b.64j.qh 68c.64k.qh 68d.64l.qh 68e.64m.qh 68f.64n.qh 68g.65c.qh 68h.65d.qh 68i.65e.qh 68j.65f.qh ' +
  '68k.65g.qh 68l.65h.qh 68m.65i.qh 68n.65j.qh 68o.65c.qh 68p.65d.qh 68q.65e.qh 68r.65f.qh 68s.65g.qh ' +
  '68t.65h.qh 68u.65i.qh 68v.65j.qh 68w.674.qh 68x.675.qh 68y.676.qh 68z.677.qh 690.678.qh 691.679.qh ' +
  '692.67a.qh 693.67b.qh 694.674.qh 695.675.qh 696.676.qh 697.677.qh 698.678.qh 699.679.qh 69a.67a.qh ' +
  '69b.67b.qh 69e.67k.qh 69f.q9.qh 69g.q4.qh 69i.q9.n6 69j.q9.n6.qh 69o.q9.qh 69u.67o.qh 69v.qf.qh ' +
  '69w.q6.qh 69y.qf.n6 69z.qf.n6.qh 6a4.qf.qh 6aa.qh.lk.lc 6ab.qh.lk.ld 6ae.qh.n6 6af.qh.lk.n6 ' +
  '6aq.qt.lk.lc 6ar.qt.lk.ld 6as.qp.lv 6au.qt.n6 6av.qt.lk.n6 6b6.67w.qh 6b7.qx.qh 6b8.r2.qh 6ba.qx.n6 ' +
  '6bb.qx.n6.qh 6bg.qx.qh 6g8.36.37 6ir.4w.2r 6ix.4w.2u 6ja.32.33 6jk.37.31 6jl.38.2t.30 6jm.38.31 ' +
  'a5t.2w.34.2p a5v.2p.39 a5x.33.3a a68.34.2p a69.32.2p a6a.qk.2p a6b.31.2p a6c.2z.2p a6d.2z.2q ' +
  'a6e.31.2q a6f.2v.2q a6i.34.2u a6j.32.2u a6k.qk.2u a6o.2w.3e a6p.2z.2w.3e a6q.31.2w.3e a6r.2v.2w.3e ' +
  'a6s.38.2w.3e a7d.34.2p a7e.2z.34.2p a7f.31.34.2p a7g.2v.34.2p a7o.34.3a a7p.32.3a a7q.qk.3a ' +
  'a7r.31.3a a7s.2z.3a a7t.31.3a a7u.34.3b a7v.32.3b a7w.qk.3b a7x.31.3b a7y.2z.3b a7z.31.3b a80.2z.qx ' +
  'a81.31.qx a83.2q.35 a86.2r.6qd.2z.2v a87.2r.33.1a a88.2s.2q a89.2v.3d a8b.2w.34 a8d.2z.2z a8e.2z.31 ' +
  'a8n.34.2w a8p.34.34.31 a8q.34.36 a8s.37.3a a8t.3b.2q 1dkw.2u.2u 1dkx.2u.2x 1dky.2u.30 1dkz.2u.2u.2x ' +
  '1dl0.2u.2u.30 1dl1.37.38 1dl2.37.38 1dlf.12s.12u 1dlg.12s.12d 1dlh.12s.12j 1dli.132.12u 1dlj.12s.12l';

/** What NFKC made of them before Corrigendum 4 (after Unicode 3.2). */
export const correctedLater = '467c.2wyy 467o.isz 46cf.dd7 46e7.o8e 46gv.f9z';
