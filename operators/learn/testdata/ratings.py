# The figures of other programs in ratings_test.go: ratings from a formula, 200 users,
# 100 items, three true factors, noise; test-then-train with river 0.26.1.
import math
M=(1<<64)-1
def scatter(x):
    x=(x+0x9E3779B97F4A7C15)&M
    x=((x^(x>>30))*0xBF58476D1CE4E5B9)&M
    x=((x^(x>>27))*0x94D049BB133111EB)&M
    return x^(x>>31)
def u(x): return (scatter(x)>>11)*2.0**-52-1   # uniform on [-1, 1)
def rating(n):
    user=scatter(1_000_000+n)%200; item=scatter(2_000_000+n)%100
    r=3.5+0.7*u(10_000+user)+0.7*u(20_000+item)
    for f in range(3): r+=1.2*u(30_000+3*user+f)*u(40_000+3*item+f)
    r+=0.4*u(3_000_000+n)
    return user,item,round(2*r)/2
if __name__=='__main__':
    from river import reco,optim,metrics
    import numpy as np
    rows=[rating(n) for n in range(20000)]
    def run(name,m):
        m_=metrics.RMSE(); a=metrics.MAE(); late=metrics.RMSE()
        for k,(us,it,y) in enumerate(rows):
            p=m.predict_one(us,it)
            m_.update(y,p); a.update(y,p)
            if k>=10000: late.update(y,p)
            m.learn_one(us,it,y)
        print(name,m_.get(),a.get(),late.get())
    run('Baseline sgd .025',reco.Baseline(optimizer=optim.SGD(0.025)))
    run('BiasedMF 10 sgd .025 l2 .02',reco.BiasedMF(n_factors=10,bias_optimizer=optim.SGD(0.025),latent_optimizer=optim.SGD(0.025),l2_bias=0.02,l2_latent=0.02,seed=71))
    run('BiasedMF 10 sgd .025 l2 .02 seed 1',reco.BiasedMF(n_factors=10,bias_optimizer=optim.SGD(0.025),latent_optimizer=optim.SGD(0.025),l2_bias=0.02,l2_latent=0.02,seed=1))
    run('BiasedMF 3 sgd .025 l2 .02',reco.BiasedMF(n_factors=3,bias_optimizer=optim.SGD(0.025),latent_optimizer=optim.SGD(0.025),l2_bias=0.02,l2_latent=0.02,seed=71))
    mean=sum(y for _,_,y in rows)/len(rows); print('sd',math.sqrt(sum((y-mean)**2 for *_,y in rows)/len(rows)), rows[:3])
